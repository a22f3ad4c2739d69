"""The real parts that tests run against: engine, image, database server, browser, hub."""

pytest_plugins = [
    # In the order in which they import each other.
    "fixtures.hub",
    "fixtures.clock",
    "fixtures.parts",
    "fixtures.jupyter",
    "fixtures.panel",
    "fixtures.postgres",
    "fixtures.browser",
    "fixtures.desktop",
    "fixtures.engine",
    "fixtures.libvirt",
]
