"""Where cells may come from, as a design says it: typed, checked on construction, never changed afterwards."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
