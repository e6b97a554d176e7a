"""A segment gives back exactly the whole records written to it, whatever tears or changes the file."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zlib import crc32

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recorded import answers, label_of

from serving.records import Record, decode, encode, id_from, id_text, new_id, share_position
from serving.segments import FRAME, HEADER_BYTES, MAGIC, SUFFIX, Segment, claimed, parse, waiting

RECORDS = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)


def written(records: list[bytes], sealed: bool = True) -> bytes:
    """The bytes of a segment with these records."""
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment(Path(folder))
        segment.append(records)
        segment.seal() if sealed else segment.abandon()
        return segment.path.read_bytes()


def same(one: Record, other: Record) -> bool:
    return all(np.array_equal(mine, yours) for mine, yours in zip(one, other, strict=True))


def test_real_digits_come_back_as_they_were_with_their_answers_and_labels(test_digits, folder):
    records = answers(test_digits, 50, person=b"0123456789abcdef")
    records += [label_of(record, 3) for record in records[:5]]
    segment = Segment(folder)
    segment.append([encode(record) for record in records[:20]])
    segment.append([encode(record) for record in records[20:]])
    segment.seal()
    contents = parse(segment.path.read_bytes())
    assert contents.sealed
    assert (contents.damaged, contents.torn_bytes) == (0, 0)
    assert all(same(decode(found), put) for found, put in zip(contents.records, records, strict=True))


@given(RECORDS, st.data())
def test_whatever_tail_is_torn_off_exactly_the_whole_records_before_it_are_read(records, data):
    whole = written(records, sealed=False)
    cut = data.draw(st.integers(0, len(whole)))
    ends = np.cumsum([HEADER_BYTES, *(FRAME.size + len(record) for record in records)])
    complete = max(0, int((ends <= cut).sum()) - 1)
    contents = parse(whole[:cut])
    assert contents.records == tuple(records[:complete])
    assert contents.damaged == 0
    assert contents.torn_bytes == (cut - ends[complete] if cut >= HEADER_BYTES else cut)


@given(RECORDS, st.data())
def test_any_flipped_bit_is_noticed_and_costs_no_other_record(records, data):
    whole = bytearray(written(records))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    contents = parse(bytes(whole))
    assert contents.damaged or contents.torn_bytes
    assert not contents.sealed or contents.damaged
    if bit // 8 >= HEADER_BYTES:
        ends = np.cumsum([HEADER_BYTES, *(FRAME.size + len(record) for record in records)])
        hit = int((ends <= bit // 8).sum()) - 1
        assert contents.records == tuple(record for row, record in enumerate(records) if row != hit)


def test_a_picture_that_holds_a_forged_record_is_never_read_as_one():
    forged = FRAME.pack(b"guessed!", 6, crc32(b"forged", 6)) + b"forged"
    torn = written([b"first", b"picture " + forged + b" end"], sealed=False)[:-1]
    assert parse(torn).records == (b"first",)


def test_zeros_at_the_end_are_damage_since_no_kill_leaves_them():
    contents = parse(written([b"first"]) + bytes(500))
    assert (contents.records, contents.damaged) == ((b"first",), 1)


def test_a_file_that_is_no_segment_is_reported_not_read():
    assert parse(b"these are words, not records").damaged == 1
    assert parse(b"INKSEG9\n" + bytes(100)).damaged == 1
    assert parse(MAGIC[:3]).damaged == 0


def test_a_segment_is_shipped_by_nobody_while_it_is_written(folder):
    segment = Segment(folder)
    with claimed(segment.path) as file:
        assert file is None
    segment.seal()
    with claimed(segment.path) as file, claimed(segment.path) as again:
        assert file is not None
        assert again is None
    segment.path.unlink()
    with claimed(segment.path) as file:
        assert file is None


def test_a_killed_writers_segment_is_free_at_once(folder):
    script = "import sys, time, pathlib; from serving.segments import Segment; s = Segment(pathlib.Path(sys.argv[1]));"
    script += "s.append([b'kept']); print('written', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (path,) = waiting(folder)
        with claimed(path) as file:
            assert file is None
        process.send_signal(signal.SIGKILL)
    with claimed(path) as file:
        assert parse(file.read()).records == (b"kept",)


def test_segments_sort_by_time_and_never_share_a_name(folder):
    begun = []
    for _ in range(20):
        segment = Segment(folder)
        segment.seal()
        begun.append(segment.path)
        time.sleep(0.001)
    assert waiting(folder) == begun
    assert all(path.suffix == SUFFIX for path in begun)


FULL = """
import resource, signal, sys
from pathlib import Path
from serving.segments import Segment, parse
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
segment = Segment(Path(sys.argv[1]))
segment.append([b"a" * 1000])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    segment.append([b"b" * 500, b"c" * 1000])
except OSError as error:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
segment.append([b"d" * 10])
segment.seal()
print([record[:1] for record in parse(segment.path.read_bytes()).records])
"""


def test_where_the_disk_ends_within_a_write_nothing_of_it_remains(folder):
    done = subprocess.run([sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["refused", "[b'a', b'd']"]


def test_ids_sort_by_time_and_are_uuids():
    ids = []
    for _ in range(50):
        ids.append(new_id())
        time.sleep(0.0011)
    assert ids == sorted(ids)
    assert [id_from(id_text(each)) for each in ids] == ids
    assert len({share_position(each) for each in ids}) == 50
