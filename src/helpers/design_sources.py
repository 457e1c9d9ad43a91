"""Where cells may come from, as a design says it: typed, checked on construction, never changed afterwards."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Source of a corpus -> key of its settings.
SOURCE_SETTINGS = {"simulated": "simulation", "h5ad": "h5ad", "census": "census"}
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


PROTOCOLS = [
    "10x 5' v2",
    "10x 3' v3",
    "10x 3' v2",
    "10x 5' v1",
    "10x 3' v1",
    "10x 3' transcription profiling",
    "10x 5' transcription profiling",
]
Values = Annotated[list[str | bool | int], Field(min_length=1)]
Labels = Annotated[dict[Text, Text | Annotated[list[Text], Field(min_length=2)]], Field(min_length=1)]


class Census(Strict):
    """Cells of CELLxGENE Census, or of a SOMA laid out like it, chosen by their labels.

    The defaults are those of the code of scTab (Fischer et al., Nat Commun 2024, 10.1038/s41467-024-51059-5), with the
    ontology and the list of genes that it read. Its text says at least 30 donors and 7 parents; its code left out types
    with just so many. It chose 22,190,622 cells and stored 22,189,056 of them, whole groups of 1,024.
    """

    release: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2023-05-15"
    uri: Text | None = None  # in place of a release: path or URI of a collection like it, or of one experiment
    organism: Text = "homo_sapiens"  # in the collection's census_data
    where: dict[Text, Values] = {"is_primary_data": [True], "assay": PROTOCOLS}  # the SOMA's column -> accepted values
    ontology: Text | None = "data/external/cl-simple.obo"  # an OBO file; null for no rule by it
    descends_from: Text = "native cell"  # name of the term that stands above all types
    min_ancestors: Annotated[int, Field(ge=0)] = 8  # terms above a type by is_a, the root among them
    min_cells: Annotated[int, Field(ge=0)] = 5_000  # of a type, among the cells of `where`
    min_donors: Annotated[int, Field(ge=0)] = 31  # of a type, among the cells of `where`
    genes: Text | None = "data/external/features.parquet"  # a list: parquet, csv, or a name a line; null for all genes
    genes_column: Text = "gene_names"  # of a list that is a table
    var_column: Text = "feature_name"  # the SOMA's, that names genes
    obs: Labels = {  # our column -> the SOMA's, or several of them, joined by "_"
        "dataset_id": "dataset_id",
        "cell_type": "cell_type",
        "batch": "dataset_id",
        "donor_id": ["dataset_id", "donor_id"],
        "tissue": "tissue_general",
        "assay": "assay",
    }

    @model_validator(mode="after")
    def _keys_go_together(self):
        if self.uri is not None and "release" in self.model_fields_set:
            raise ValueError(f"release = {self.release!r} and uri = {self.uri!r} are both given: leave one out")
        by_type = self.ontology is not None or self.min_cells or self.min_donors
        for column, needed in {"cell_type": by_type, "donor_id": self.min_donors}.items():
            if needed and column not in self.obs:
                raise ValueError(f"obs = {self.obs} lacks {column}, by which cell types are chosen: name its column")
        return self
