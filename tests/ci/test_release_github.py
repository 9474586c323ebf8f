"""What a run does on GitHub, what it refuses, how long it waits, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github_double import Double, Fault, Repository
from github_runs import (
    COMMIT,
    FILES,
    TAG,
    TOKEN,
    Killed,
    World,
    check_end,
    digests,
    make_release,
    run,
)
from releases import git

from ci.errors import FactoryError
from ci.release.github.place import find_place
from ci.release.github.publish import MOST_TROUBLES
from ci.release.plan import Release

OTHER = FILES | {"a.whl": b"another wheel"}


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double.run() as running:
        yield running


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"), FILES)


@pytest.fixture
def repository(double: Double) -> Repository:
    double.begin(Repository(digests()))
    return double.repository


def published(repository: Repository) -> dict[str, Any]:
    (only,) = repository.published
    return only.fields


def refusal(double: Double, release: Release, **options: Any) -> str:
    """Return what a run says that must fail, and that nothing became public."""
    with pytest.raises(FactoryError) as caught:
        run(double, release, **options)
    assert double.repository.published == []
    assert double.repository.wrong == []
    return str(caught.value)


def test_release_has_its_tag_name_and_notes(
    double: Double, repository: Repository, release: Release
) -> None:
    run(double, release)
    fields = published(repository)
    assert fields["tag_name"] == fields["name"] == TAG
    assert "What is new." in fields["body"]
    assert fields["prerelease"] is False
    assert fields["make_latest"] == "legacy"


def test_prerelease_tag_becomes_a_prerelease(
    double: Double, repository: Repository, tmp_path: Path
) -> None:
    repository.tags["v1.3.0-rc.1"] = repository.tags[TAG]
    run(double, make_release(tmp_path, FILES, "v1.3.0-rc.1"))
    assert published(repository)["prerelease"] is True
    assert published(repository)["make_latest"] == "false"
    check_end(double)


def test_annotated_tag_leads_to_its_commit(
    double: Double, repository: Repository, release: Release
) -> None:
    repository.tags[TAG] = {"type": "tag", "sha": "b" * 40}
    repository.tag_objects["b" * 40] = {"type": "commit", "sha": COMMIT}
    run(double, release)
    check_end(double)


def test_tag_that_was_not_pushed_is_refused(
    double: Double, repository: Repository, release: Release
) -> None:
    repository.tags.clear()
    assert "o/r has no tag v1.2.3" in refusal(double, release)
    assert double.writes == []


@pytest.mark.parametrize("annotated", [False, True])
def test_tag_at_another_commit_is_refused(
    double: Double, repository: Repository, release: Release, *, annotated: bool
) -> None:
    elsewhere = {"type": "commit", "sha": "c" * 40}
    repository.tag_objects["b" * 40] = elsewhere
    repository.tags[TAG] = {"type": "tag", "sha": "b" * 40} if annotated else elsewhere
    assert "v1.2.3 of o/r is at cccccccccccc" in refusal(double, release)
    assert double.writes == []


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (OTHER, "a.whl differs"),
        (FILES | {"b.whl": b"more"}, "b.whl is only in one"),
        ({name: data for name, data in FILES.items() if name != "a.whl"}, "a.whl is only in one"),
    ],
)
def test_differing_published_release_is_refused_by_name(
    double: Double, release: Release, tmp_path: Path, files: dict[str, bytes], name: str
) -> None:
    double.begin(Repository(digests()))
    run(double, release)
    double.calls.clear()
    with pytest.raises(FactoryError, match=f"published already, with other files: {name}"):
        run(double, make_release(tmp_path, files))
    assert double.writes == []
    check_end(double)


def test_draft_of_a_killed_run_goes_and_somebodys_own_stays(
    double: Double, repository: Repository, release: Release
) -> None:
    double.begin(repository, Fault(6, cut="after"))
    with pytest.raises(Killed):
        run(double, release, World(dying=True))
    own = repository.create({"tag_name": TAG, "draft": True, "body": "Mine."})
    other = repository.create({"tag_name": "v1.2.4", "draft": True, "body": "<!-- made by"})
    run(double, release)
    assert [draft for draft in repository.releases.values() if draft.draft] == [own, other]
    assert len(repository.published) == 1
    assert repository.wrong == []


def test_unfinished_asset_is_deleted_before_it_is_sent_again(
    double: Double, release: Release
) -> None:
    double.begin(Repository(digests()), Fault(4, cut="during"))
    run(double, release)
    upload = "POST /repos/o/r/releases/1/assets"
    assert double.writes[1:4] == [upload, "DELETE /repos/o/r/releases/assets/2", upload]
    check_end(double)


def test_digest_that_stays_wrong_stops_the_release(
    double: Double, repository: Repository, release: Release
) -> None:
    repository.corrupt = True
    assert "GitHub keeps stating another digest for SHA256SUMS, a.whl" in refusal(double, release)


@pytest.mark.parametrize("page", [1, 2])
def test_lists_are_read_to_their_last_page(
    double: Double, repository: Repository, release: Release, page: int
) -> None:
    double.begin(repository, Fault(6, cut="after"))
    with pytest.raises(Killed):
        run(double, release, World(dying=True))
    for number in range(5):
        repository.create({"tag_name": f"v0.0.{number}", "draft": True})
    double.page = page
    run(double, release)
    assert [r.fields["tag_name"] for r in repository.releases.values()].count(TAG) == 1
    assert repository.wrong == []


def test_tag_that_is_moved_during_the_uploads_is_noticed(
    double: Double, repository: Repository, release: Release
) -> None:
    double.on_arrival[4] = lambda: repository.tags[TAG].update(sha="c" * 40)
    assert "v1.2.3 of o/r is at cccccccccccc" in refusal(double, release)


# Two runs at a time: one is done while a request of the other is on its way


@pytest.mark.parametrize("at", range(12))
def test_of_two_same_runs_one_wins_and_the_other_says_so(
    double: Double, release: Release, at: int
) -> None:
    double.begin(Repository(digests()))
    double.on_arrival[at] = lambda: run(double, release)
    said = run(double, release)
    check_end(double)
    if at <= 2:  # before it has a draft of its own, a run meets a finished release
        assert said.startswith("another run was first" if at else "v1.2.3 is published already")
    else:
        assert said.startswith("another run was first" if at <= 9 else "v1.2.3 is published: ")


@pytest.mark.parametrize("at", range(1, 10))
def test_of_two_different_runs_the_loser_names_the_file(
    double: Double, release: Release, tmp_path: Path, at: int
) -> None:
    double.begin(Repository(digests()))
    double.on_arrival[at] = lambda: run(double, release)
    with pytest.raises(FactoryError, match=r"published already, with other files: a\.whl differs"):
        run(double, make_release(tmp_path, OTHER))
    check_end(double)


# Waiting


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        (Fault(2, status=403, headers={"Retry-After": "30"}), 30, 40),
        (Fault(2, status=429, headers={"Retry-After": "7"}), 7, 11),
        (
            Fault(
                2,
                status=403,
                headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000090"},
            ),
            *(90, 120),
        ),
        (Fault(2, status=429), 60, 80),
        (Fault(2, status=403, message="You have exceeded a secondary rate limit"), 60, 80),
        (Fault(2, status=503), 1, 3),
    ],
)
def test_wait_is_what_the_server_says(
    double: Double, release: Release, fault: Fault, least: float, most: float
) -> None:
    double.begin(Repository(digests()), fault)
    world = World()
    run(double, release, world)
    (wait,) = world.waits
    assert least <= wait <= most
    check_end(double)


def test_waits_grow_and_differ(double: Double, release: Release) -> None:
    double.begin(Repository(digests()), *(Fault(at, status=500) for at in range(6)))
    world = World()
    run(double, release, world)
    for least, wait in zip((1, 2, 4, 8, 16, 32), world.waits, strict=True):
        assert least <= wait <= least + 1 + least / 4
    assert len({wait % 1 for wait in world.waits}) == 6
    check_end(double)


def test_trouble_that_stays_ends_the_run_with_a_sentence(double: Double, release: Release) -> None:
    double.begin(Repository(digests()), *(Fault(at, status=502) for at in range(3, 99)))
    world = World()
    said = refusal(double, release, world=world)
    assert "v1.2.3 is not published: " in said
    assert "GitHub answered 502" in said
    assert "Run the same command again later" in said
    assert len(world.waits) == MOST_TROUBLES


def test_limit_that_is_hours_away_is_not_waited_for(double: Double, release: Release) -> None:
    double.begin(Repository(digests()), Fault(2, status=403, headers={"Retry-After": "7200"}))
    world = World()
    assert "limits the rate of requests" in refusal(double, release, world=world)
    assert world.waits == []


def test_nobody_there_is_trouble(release: Release) -> None:
    with Double.run() as gone:
        pass
    world = World()
    with pytest.raises(FactoryError, match=r"v1\.2\.3 is not published: GET .*refused"):
        run(gone, release, world)
    assert len(world.waits) == MOST_TROUBLES


# Tokens


@pytest.mark.parametrize(
    ("rights", "token", "sentence"),
    [
        ({}, "expired-token", "GitHub does not accept the token: it has expired, was revoked or"),
        ({"reader": "read"}, "reader", "the token may not write the releases of o/r"),
        ({}, "", "GitHub does not accept the token"),
    ],
)
def test_token_without_the_right_is_one_sentence(
    double: Double, release: Release, rights: dict[str, str], token: str, sentence: str
) -> None:
    double.begin(Repository(digests(), tokens=rights))
    world = World()
    assert refusal(double, release, world=world, token=token).startswith(sentence)
    assert world.waits == []


def test_unknown_repository_is_one_sentence(
    double: Double, repository: Repository, release: Release
) -> None:
    repository.name = "o/other"
    assert refusal(double, release).startswith("o/r has no tag v1.2.3, or this token may not see")


def test_moved_repository_is_one_sentence(double: Double, release: Release) -> None:
    moved = {"Location": "https://api.github.com/repositories/1"}
    double.begin(Repository(digests()), Fault(0, status=301, headers=moved))
    assert refusal(double, release).startswith("o/r has moved to https://api.github.com/")


@pytest.mark.parametrize("status", [400, 403, 418, 422, 502])
def test_token_that_the_server_repeats_is_not_passed_on(
    double: Double, release: Release, status: int
) -> None:
    faults = (Fault(at, status=status, message=f"Bearer {TOKEN} is bad") for at in range(99))
    double.begin(Repository(digests()), *faults)
    world = World()
    assert TOKEN not in "\n".join([refusal(double, release, world=world), *world.said])


@pytest.mark.parametrize("token", ["two words", "new\nline", "naïve", "bell\a"])
def test_what_cannot_be_a_token_is_refused_unseen(tmp_path: Path, token: str) -> None:
    environ = {"GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": token}
    with pytest.raises(FactoryError, match="GITHUB_TOKEN holds no token") as caught:
        find_place(tmp_path, environ)
    assert token not in str(caught.value)


def test_token_never_leaves_unencrypted(tmp_path: Path) -> None:
    environ = {
        "GITHUB_REPOSITORY": "o/r",
        "GH_TOKEN": TOKEN,
        "GITHUB_API_URL": "http://example.com",
    }
    with pytest.raises(FactoryError, match="would be sent unencrypted"):
        find_place(tmp_path, environ)


def test_place_does_not_show_its_token(tmp_path: Path) -> None:
    place = find_place(tmp_path, {"GITHUB_REPOSITORY": "o/r", "GH_TOKEN": f" {TOKEN}\n"})
    assert place is not None
    assert place.token == TOKEN
    assert TOKEN not in repr(place)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("https://github.com/o/r", "o/r"),
        ("https://github.com/o/r.git", "o/r"),
        ("https://user@github.com/o/r.x.git", "o/r.x"),
        ("git@github.com:o/r.git", "o/r"),
        ("ssh://git@github.com/o/r", "o/r"),
        ("https://example.com/o/r", None),
        ("https://github.com.evil.example/o/r", None),
        ("/srv/git/r", None),
    ],
)
def test_origin_names_the_repository(tmp_path: Path, origin: str, name: str | None) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", origin)
    place = find_place(tmp_path, {})
    assert (place and place.name) == name
