"""The papers that go beside an image: values in, bytes out. Files are read and clocks asked by who wants one."""
