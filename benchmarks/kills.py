def killed_commands(folder):
    return []


class Killed:
    pass
