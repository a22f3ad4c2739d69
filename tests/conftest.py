"""The real parts that tests run against: engine, image, database server, browser, hub."""

pytest_plugins = [
    "fixtures.hub",
    "fixtures.parts",
    "fixtures.postgres",
    "fixtures.browser",
    "fixtures.engine",
]
