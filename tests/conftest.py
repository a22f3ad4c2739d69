"""The real parts that tests run against: engine, image, database server, browser, hub."""

pytest_plugins = [
    "fixtures.hub",
    "fixtures.jupyter",
    "fixtures.panel",
    "fixtures.parts",
    "fixtures.postgres",
    "fixtures.browser",
    "fixtures.engine",
]
