"""The images of docker/, without an engine: their files are read, and what they install is installed in a folder."""
