"""The box's single-user server."""


def main() -> None:
    from jupyterhub.singleuser import main as stock

    stock()
