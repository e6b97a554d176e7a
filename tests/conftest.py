"""What all tests share."""

pytest_plugins = ["s3"]
