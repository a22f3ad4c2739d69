"""The real parts that tests run against: engine, image, database server, browser, hub."""

pytest_plugins = [
    "fixtures.parts",  # first: others import it
    "fixtures.hub",
    "fixtures.jupyter",
    "fixtures.panel",
    "fixtures.postgres",
    "fixtures.browser",
    "fixtures.engine",
]
