import hashlib
import io
import zipfile

import numpy as np
import pytest

from services.store.archive import Archive, DamagedError, pack, pack_arrays, unpack_arrays

PARTS = {"run.json": b"{}", "tables.arrows": bytes(range(200))}
ARRAYS = {"theta": np.arange(5.0), "file": np.array(2), "Gewicht/α": np.eye(2, dtype=np.float32)}


def test_parts_come_back() -> None:
    archive = Archive(pack(PARTS), "here")
    assert {name: archive.read(name) for name in archive.names} == PARTS
    assert "run.json" in archive
    assert "params.npz" not in archive


def test_any_program_can_read_it_and_check_its_seal() -> None:
    data = pack(PARTS)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
        assert opened.comment == hashlib.sha256(data[:-64]).hexdigest().encode()
        assert opened.read("run.json") == b"{}"


def test_equal_parts_make_equal_bytes() -> None:
    assert pack(PARTS) == pack(dict(PARTS))


def test_whatever_is_flipped_is_found() -> None:
    data = pack(PARTS)
    for i in range(len(data)):
        with pytest.raises(DamagedError, match=r"here is damaged: `basin store rebuild`"):
            Archive(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :], "here")


def test_wherever_it_is_cut_off_or_goes_on_is_found() -> None:
    data = pack(PARTS)
    for harmed in (*(data[:i] for i in range(len(data))), data + b"\n"):
        with pytest.raises(DamagedError):
            Archive(harmed, "here")


def test_arrays_come_back_and_are_an_npz_file() -> None:
    data = pack_arrays(ARRAYS)
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        for found in (unpack_arrays(data, "here"), dict(loaded)):
            assert found.keys() == ARRAYS.keys()
            for name, array in ARRAYS.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array)


def test_pickles_are_neither_written_nor_read() -> None:
    evil = np.array([{}], object)
    with pytest.raises(ValueError, match="Object arrays"):
        pack_arrays({"theta": evil})
    np.lib.format.write_array(pickled := io.BytesIO(), evil, allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays"):
        unpack_arrays(pack({"theta.npy": pickled.getvalue()}), "here")
