"""Where cells may come from, as a design says it: typed, checked on construction, never changed afterwards."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SOURCE_SETTINGS = {"simulated": "simulation", "h5ad": "h5ad"}  # source of a corpus -> key of its settings
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Base of all parts of a design: unknown keys and wrong types are refused, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Simulation(Strict):
    """What is simulated; effects are standard deviations of log expression over genes."""

    seed: Annotated[int, Field(ge=0)] = 0
    n_cells: Annotated[int, Field(ge=1)] = 20_000
    n_genes: Annotated[int, Field(ge=50)] = 2_000
    n_tissues: Annotated[int, Field(ge=1)] = 4
    n_types: Annotated[int, Field(ge=1)] = 24
    n_datasets: Annotated[int, Field(ge=1)] = 24
    donors_per_dataset: Annotated[int, Field(ge=1)] = 5
    type_tail: Annotated[float, Field(ge=0, le=5)] = 1.3  # Zipf: the k-th type has the weight k^-type_tail
    depth: Annotated[float, Field(ge=1, le=1e6)] = 1_500.0  # counts of the median cell, geometric mean over datasets
    depth_sd_datasets: Annotated[float, Field(ge=0, le=3)] = 0.55  # of log depth
    depth_sd_cells: Annotated[float, Field(ge=0, le=3)] = 0.4  # of log depth, within a dataset
    dispersion: Annotated[float, Field(gt=0, le=100)] = 0.3  # variance = mean + dispersion · mean²
    tissue_effect: Annotated[float, Field(ge=0, le=5)] = 0.25  # all genes
    type_effect: Annotated[float, Field(ge=0, le=5)] = 1.3  # the marker genes of a type only, mean over types
    donor_effect: Annotated[float, Field(ge=0, le=5)] = 0.1  # all genes
    dataset_effect: Annotated[float, Field(ge=0, le=5)] = 0.15  # all genes

    @model_validator(mode="after")
    def _levels_are_nested(self):
        for lower in ("n_types", "n_datasets"):
            if getattr(self, lower) < self.n_tissues:
                raise ValueError(
                    f"{lower} = {getattr(self, lower)} is under n_tissues = {self.n_tissues}: each tissue needs one"
                )
        n_donors = self.n_datasets * self.donors_per_dataset
        if self.n_cells < n_donors:
            raise ValueError(
                f"n_cells = {self.n_cells:,} is under n_datasets × donors_per_dataset = {n_donors:,}: each needs one"
            )
        return self


class H5adFiles(Strict):
    """Cells of one's own: an h5ad file of raw counts, or a folder of them, one below the other in the order of their
    names.
    """

    path: Text
    obs: dict[Text, Text] = {}  # name in designs -> column of the files' obs; a column keeps its name if not named here
    layer: Text | None = None  # that holds the counts, or raw; X if left out
    genes: Text | None = None  # column of var with the gene names, if var_names are others
    names: Literal["file"] | None = None  # puts the name of its file before that of each cell
    within_dataset: list[Text] = []  # labels that each dataset numbers anew: its name is put before theirs

    @model_validator(mode="after")
    def _labels_of_datasets(self):
        if "dataset_id" in self.within_dataset:
            raise ValueError("within_dataset names dataset_id: name labels within it, such as donor_id or batch")
        return self
