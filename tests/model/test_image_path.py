"""One form of a path in an image, for profiles, plans and manifests."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from builder.model.identities import MadePath
from builder.model.image_path import ImagePath, fault, usr_merged

NO_PATH, UNPRINTABLE = "is not the absolute path of a file", "holds characters that cannot be printed"
WRONG = {
    "": NO_PATH,
    "/": NO_PATH,
    "etc/key": NO_PATH,
    "//etc/key": NO_PATH,
    "/etc/./key": NO_PATH,
    "/etc/../key": NO_PATH,
    "/etc/key/": NO_PATH,
    "/etc/key\n/etc/passwd": UNPRINTABLE,
    "/etc/\x1b]0;x\x07": UNPRINTABLE,
    "/etc/key\0": UNPRINTABLE,
    "/etc/\u202egpj": UNPRINTABLE,
    "/" + "é" * 128: "has a part of more than 255 bytes",
    "/a" * 2049: "has more than 4096 characters",
}


@pytest.mark.parametrize(("path", "said"), WRONG.items())
def test_a_path_that_would_say_more_than_a_path_is_refused(path: str, said: str) -> None:
    for form in (ImagePath, MadePath):
        with pytest.raises(ValidationError, match=said):
            TypeAdapter(form).validate_python(path)


def test_only_a_file_to_remake_has_no_blank_in_its_path() -> None:
    """A second word in its line would be the name of a package."""
    assert TypeAdapter(ImagePath).validate_python("/opt/My App/key") == "/opt/My App/key"
    with pytest.raises(ValidationError, match="has a blank"):
        TypeAdapter(MadePath).validate_python("/opt/My App/key")


@pytest.mark.parametrize("path", ["/" + "x" * 255, "/a" * 2048, "/etc/ssl/certs/Főtanúsítvány.pem"])
def test_the_longest_paths_of_linux_are_taken(path: str) -> None:
    assert fault(path) == ""


@pytest.mark.parametrize(
    ("path", "merged"),
    [
        ("/bin/sh", "/usr/bin/sh"),
        ("/sbin/init", "/usr/sbin/init"),
        ("/lib/udev/rules.d/60.rules", "/usr/lib/udev/rules.d/60.rules"),
        ("/lib64/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2"),
        ("/libexec/x", "/libexec/x"),
        ("/usr/bin/sh", "/usr/bin/sh"),
        ("/opt/bin/sh", "/opt/bin/sh"),
    ],
)
def test_a_path_of_dpkg_is_found_after_the_merge_of_usr(path: str, merged: str) -> None:
    assert usr_merged(path) == merged
