from __future__ import annotations

from groundwork.lab.aptsources import (
    AptSource,
    Mirrors,
    choose_mirrors,
    parse_deb822,
    parse_one_line,
    read_sources,
    render_sources,
)

DEB822 = """\
# Debian
Types: deb deb-src
# a comment within the stanza
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://not-a-field.example

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
"""


def test_deb822_gives_each_suite_and_skips_what_is_disabled():
    assert parse_deb822(DEB822) == [
        AptSource("http://mirror.example/debian/", "bookworm", ("main", "contrib")),
        AptSource("http://mirror.example/debian/", "bookworm-updates", ("main", "contrib")),
        AptSource("http://mirror.example/debian-security", "bookworm-security", ("main",)),
    ]


def test_deb822_skips_source_packages_only():
    assert parse_deb822("Types: deb-src\nURIs: http://a.example/debian\nSuites: trixie\n") == []


def test_one_line_with_options_comments_and_source_lines():
    text = """
    # deb http://commented.example/debian trixie main
    deb-src http://mirror.example/debian trixie main
    deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian trixie main non-free # x
    """
    assert parse_one_line(text) == [AptSource("http://mirror.example/debian", "trixie", ("main", "non-free"))]


def test_mirrors_are_found_among_vendors_and_media():
    sources = [
        AptSource("cdrom:[Debian]", "trixie", ("main",)),
        AptSource("https://vendor.example/debian", "nodistro", ("main",)),
        AptSource("http://ubuntu.example/ubuntu", "noble", ("main",)),
        AptSource("http://mirror.example/debian-backports", "trixie-backports", ("main",)),
        AptSource("http://mirror.example/debian/", "trixie", ("main",)),
        AptSource("http://security.example/", "trixie-security", ("main",)),
    ]
    assert choose_mirrors(sources) == Mirrors("http://mirror.example/debian", "http://security.example")


def test_security_is_guessed_only_beside_a_usual_main_mirror():
    assert choose_mirrors([AptSource("http://m.example/debian", "sid", ())]).security == (
        "http://m.example/debian-security"
    )
    assert choose_mirrors([AptSource("http://m.example/mirror/d", "sid", ())]).security == ""
    assert choose_mirrors([]) == Mirrors()


def test_both_formats_and_a_mirror_list_are_read(tmp_path):
    listing = tmp_path / "mirrors" / "debian.list"
    listing.parent.mkdir()
    listing.write_text("# comment\nhttp://first.example/debian priority:1\nhttp://second.example/debian\n")
    (tmp_path / "sources.list").write_text("deb http://line.example/debian-security trixie-security main\n")
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "debian.sources").write_text(f"Types: deb\nURIs: mirror+file:{listing}\nSuites: trixie\n")
    (folder / "vendor.list.disabled").write_text("deb http://off.example/debian trixie main\n")
    assert choose_mirrors(read_sources(tmp_path)) == Mirrors(
        "http://first.example/debian", "http://line.example/debian-security"
    )


def test_rendered_sources_are_for_the_asked_release_and_parse_back():
    text = render_sources(Mirrors("http://m.example/debian", "http://m.example/debian-security"), "bookworm")
    assert [(source.uri, source.suite) for source in parse_deb822(text)] == [
        ("http://m.example/debian", "bookworm"),
        ("http://m.example/debian", "bookworm-updates"),
        ("http://m.example/debian-security", "bookworm-security"),
    ]
    assert render_sources(Mirrors(), "trixie") == ""
