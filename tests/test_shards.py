"""Counts on disk: what is read is what was written, each cell once, and an interrupted write is taken up."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers.corpus import shards
from helpers.corpus.loader import PositionSampler, batches
from helpers.corpus.shards import CorruptShardError, Shards
from helpers.corpus.stored import StoredCells, StoredCounts, packed


class Blocks:
    """Counts in memory, in blocks of seven cells; `fail_at` breaks off at a row."""

    def __init__(self, counts: sp.csr_array, fail_at: int | None = None) -> None:
        self.counts, self.fail_at, self.started = counts, fail_at, []

    def __call__(self, start: int):
        self.started.append(start)
        for row in range(start, self.counts.shape[0], 7):
            if self.fail_at is not None and row >= self.fail_at:
                raise InterruptedError
            yield self.counts[row : row + 7]


@pytest.fixture(scope="module")
def counts() -> sp.csr_array:
    rng = np.random.default_rng(0)
    return sp.csr_array((rng.poisson(0.3, (230, 40)) * rng.integers(1, 9, (230, 1))).astype(np.float32))


@pytest.fixture(scope="module")
def written(counts, tmp_path_factory) -> Shards:
    folder = tmp_path_factory.mktemp("cells")
    shards.write(folder, Blocks(counts), (230, 40), shard_cells=64)
    return Shards(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_cells_are_read_as_they_were_written(written, counts):
    assert written.shape == counts.shape
    assert len(written.datasets) == 4
    np.testing.assert_array_equal(written[:].toarray(), counts.toarray())
    np.testing.assert_array_equal(written[60:70].toarray(), counts[60:70].toarray())
    rows = np.array([0, 3, 63, 64, 200, 229])
    np.testing.assert_array_equal(written[rows].toarray(), counts[rows].toarray())
    assert written[rows[:0]].shape == (0, 40)


def test_counts_are_stored_in_16_bits_where_they_fit(written, counts, tmp_path):
    assert {dataset.dtype for dataset in written.datasets} == {np.dtype(np.uint16)}
    large = counts.copy()
    large.data[-1] = 70_000
    shards.write(tmp_path, Blocks(large), (230, 40), shard_cells=64)
    again = Shards(tmp_path)
    assert [dataset.dtype for dataset in again.datasets] == [np.uint16] * 3 + [np.float32]
    np.testing.assert_array_equal(again[:].toarray(), large.toarray())


def test_an_interrupted_write_is_taken_up_and_gives_the_same_store(written, counts, tmp_path):
    with pytest.raises(InterruptedError):
        shards.write(tmp_path, Blocks(counts, fail_at=150), (230, 40), shard_cells=64)
    assert not (tmp_path / shards.COMPLETE).exists()
    with pytest.raises(CorruptShardError, match="not complete"):
        Shards(tmp_path)
    (tmp_path / ".00002.tmp").mkdir()  # a crash amid the third shard
    again = Blocks(counts)
    shards.write(tmp_path, again, (230, 40), shard_cells=64)
    assert again.started == [128], "two shards were there"
    assert contents(tmp_path) == contents(written.folder)


def test_a_harmed_shard_is_named_and_written_again(counts, tmp_path):
    shards.write(tmp_path, Blocks(counts), (230, 40), shard_cells=64)
    before = contents(tmp_path)
    victim = max((tmp_path / "00001.zarr").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    victim.write_bytes(victim.read_bytes()[:-5])
    with pytest.raises(CorruptShardError, match=r"00001\.zarr is corrupt"):
        Shards(tmp_path)[64:70]
    (tmp_path / shards.COMPLETE).unlink()
    again = Blocks(counts)
    shards.write(tmp_path, again, (230, 40), shard_cells=64)
    assert again.started == [64]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05])
@pytest.mark.parametrize(("block", "buffer"), [(8, 64), (256, 16_384)])
def test_each_epoch_has_each_position_once(share, block, buffer):
    positions = np.sort(np.random.default_rng(1).choice(230, round(share * 230), replace=False))
    found = drawn(positions, np.random.default_rng(0), 5 * len(positions), block=block, buffer=buffer)
    for epoch in np.split(found, 5):
        np.testing.assert_array_equal(np.sort(epoch), positions)


@pytest.mark.parametrize(("n_cells", "n_genes", "shard_cells"), [(1_600, 50, 800), (2_000, 400, 1_999)])
def test_batches_of_shards_with_and_without_large_counts_have_their_own(n_cells, n_genes, shard_cells, tmp_path):
    dense = np.random.default_rng(0).integers(1, 300, (n_cells, n_genes)).astype(np.float32)
    dense[1, 0] = 70_000
    shards.write(tmp_path, Blocks(sp.csr_array(dense)), dense.shape, shard_cells=shard_cells)
    drawn = batches(Shards(tmp_path), np.arange(n_cells), 64, rng=np.random.default_rng(0))
    for index, cells in itertools.islice(drawn, 40):
        np.testing.assert_array_equal(cells.toarray(), dense[index])


def test_batches_have_their_own_counts(written, counts):
    positions = np.arange(0, 230, 3)
    for index, cells in itertools.islice(batches(written, positions, 16, rng=np.random.default_rng(0)), 20):
        assert len(index) == 16
        np.testing.assert_array_equal(cells.toarray(), counts[index].toarray())


def drawn(positions: np.ndarray, rng: np.random.Generator, n: int, **options) -> np.ndarray:
    """The first `n` positions of batches of 16."""
    order = []
    for one in PositionSampler(positions, 16, rng=rng, **options).sample(230):
        rows = np.concatenate([np.arange(run.start, run.stop) for run in one["requests"]])
        order += [rows[split] for split in one["splits"]]
        assert {len(split) for split in one["splits"]} == {16}
        if 16 * len(order) >= n:
            return np.concatenate(order)[:n]
    raise AssertionError("the sampler ended")


def test_the_order_differs_by_seed_and_epoch_and_repeats_by_seed():
    first, second = np.split(drawn(np.arange(230), np.random.default_rng(3), 460, block=8, buffer=64), 2)
    assert (first != second).any()
    np.testing.assert_array_equal(drawn(np.arange(230), np.random.default_rng(3), 230, block=8, buffer=64), first)
    assert (drawn(np.arange(230), np.random.default_rng(4), 230, block=8, buffer=64) != first).any()


def test_a_batch_has_cells_of_many_blocks_and_a_buffer_bounds_what_is_read():
    sampler = PositionSampler(np.arange(230), 16, rng=np.random.default_rng(0), block=8, buffer=64)
    for one in itertools.islice(sampler.sample(230), 12):
        assert sum(run.stop - run.start for run in one["requests"]) <= 64 + 8
    assert len(set(drawn(np.arange(230), np.random.default_rng(0), 16, block=8, buffer=64) // 8)) > 3


@pytest.mark.parametrize(
    ("positions", "message"),
    [([], "at least one"), ([3, 3], "sorted"), ([5, 2], "sorted"), ([0, 230], "there are 230 cells")],
)
def test_wrong_positions_are_refused(written, positions, message):
    with pytest.raises(ValueError, match=message):
        next(batches(written, np.array(positions), 16, rng=np.random.default_rng(0)))


def test_blocks_that_end_early_or_have_other_genes_are_refused(counts, tmp_path):
    with pytest.raises(ValueError, match="ended at cell 230 of 300"):
        shards.write(tmp_path / "a", Blocks(counts), (300, 40), shard_cells=64)
    with pytest.raises(ValueError, match="a block has 40 genes, the corpus 41"):
        shards.write(tmp_path / "b", Blocks(counts), (230, 41), shard_cells=64)
    assert json.loads((tmp_path / "a" / "00000.json").read_text())["n_cells"] == 64


def test_facts_of_cells_are_kept_in_their_order(counts, tmp_path):
    shards.write(tmp_path, Blocks(counts), (230, 40), shard_cells=64, facts=lambda some: {"total": some.sum(axis=1)})
    np.testing.assert_array_equal(Shards(tmp_path).facts["total"], counts.sum(axis=1))


@pytest.fixture
def cells(written, counts) -> StoredCells:
    obs = pd.DataFrame({"type": np.arange(230) % 3}, index=[f"cell{number}" for number in range(230)])
    return StoredCells(StoredCounts(written, np.arange(230)), obs, pd.DataFrame(index=[f"g{i}" for i in range(40)]))


def test_some_cells_on_some_genes_are_read_as_they_were_written(cells, counts):
    positions, genes = np.array([3, 5, 70, 71, 200]), np.array([1, 7, 30])
    some = cells[positions]
    chosen = StoredCells(replace(some.X, genes=genes), some.obs, some.var.iloc[genes])
    assert (chosen.n_obs, chosen.n_vars) == chosen.X.shape == (5, 3)
    read = chosen.to_memory()
    np.testing.assert_array_equal(read.X.toarray(), counts[positions][:, genes].toarray())
    assert list(read.obs_names) == [f"cell{row}" for row in positions]
    assert list(read.var_names) == ["g1", "g7", "g30"]
    np.testing.assert_array_equal(chosen.X[1:5:2].toarray(), counts[positions[1:5:2]][:, genes].toarray())
    masked = cells[cells.obs["type"].to_numpy() == 2]
    np.testing.assert_array_equal(masked.X[:].toarray(), counts[2::3].toarray())


def test_batches_are_full_and_each_epoch_has_each_cell_once(cells, counts):
    some = cells[np.arange(1, 230, 2)].X
    stream = some.batches(16, np.random.default_rng(0))
    read = [next(stream) for _ in range(3 * 115 // 16)]
    for rows, batch in read:
        assert batch.shape == (16, 40)
        np.testing.assert_array_equal(batch.toarray(), counts[1 + 2 * rows].toarray())
    order = np.concatenate([rows for rows, _ in read])
    for epoch in range(2):
        np.testing.assert_array_equal(np.sort(order[epoch * 115 : (epoch + 1) * 115]), np.arange(115))
    again = np.concatenate([rows for rows, _ in itertools.islice(some.batches(16, np.random.default_rng(0)), 21)])
    np.testing.assert_array_equal(again, order)


def test_packed_cells_are_the_same_and_leave_nothing(cells, counts, tmp_path):
    some = cells[np.arange(0, 230, 5)]
    with packed(some, tmp_path / "pack") as own:
        np.testing.assert_array_equal(own.X[:].toarray(), counts[::5].toarray())
        assert list(own.obs_names) == list(some.obs_names)
        rows, batch = next(own.X.batches(16, np.random.default_rng(0)))
        np.testing.assert_array_equal(batch.toarray(), counts[5 * rows].toarray())
    assert not list(tmp_path.iterdir())


def test_cells_that_a_change_leaves_empty_drop_out(cells, counts, tmp_path):
    def halved(some):
        kept = some.multiply(some.sum(axis=1)[:, None] % 2 == 1)
        return sp.csr_array(kept, dtype=np.float32)

    odd = np.flatnonzero(counts.sum(axis=1) % 2 == 1)
    with packed(cells, tmp_path / "pack", halved) as own:
        np.testing.assert_array_equal(own.X[:].toarray(), counts[odd].toarray())
        assert list(own.obs_names) == [f"cell{row}" for row in odd]
