# A file from `partswap export-onnx`, run with nothing but onnxruntime, numpy and Pillow.
# python onnx_only.py people.onnx photo.jpg labels.png
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
prep, parts = json.loads(about["preprocessing"]), json.loads(about["parts"])
photo = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
scale = prep["long_side"] / max(photo.size)
size = [max(1, round(side * scale / prep["multiple"])) * prep["multiple"] for side in photo.size]
part_map = session.run(None, {"image": np.asarray(photo.resize(size))[None]})[0][0]
labels = Image.fromarray(part_map.argmax(0).astype(np.uint8)).resize(photo.size, Image.Resampling.NEAREST)
labels.putpalette([value for part in parts for value in part["color"]])
labels.save(sys.argv[3])
