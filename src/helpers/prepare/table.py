"""The study's evaluation sets and its spike-ins: which public files they are made from, and what is known of these.

Addresses are those of the study's code (github.com/microsoft/scFM-dataselection) unless a note says otherwise. None was
opened when this table was written. A hash stands here only if it was published; the SHA-256 of a file without one is
recorded beside it when it is first used, and checked from then on.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = 1  # of prepared files; another one makes them anew


@dataclass(frozen=True)
class Download:
    """A public file; what is not known of it is None.

    `key` tells the files of a set apart, and stands before the names of their cells; `file` is its name in the folder
    of downloads, `size` in bytes.
    """

    key: str
    file: str
    url: str | None
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class PublicSet:
    """A set of cells: its files, how they are laid out, and the columns of `obs` in which no cell may lack a value."""

    layout: Literal["cellxgene", "atlas", "plates", "screens"]
    downloads: tuple[Download, ...]
    columns: tuple[str, ...]
    page: str
    licence: str | None
    steps: str
    drug: str | None = None  # of plates
    note: str | None = None


def _of_cellxgene(version: str, key: str = "") -> Download:
    return Download(key, f"{version}.h5ad", f"https://datasets.cellxgene.cziscience.com/{version}.h5ad")


def _cellxgene(page: str, *downloads: Download, columns: tuple[str, ...] = ("cell_type",), note: str | None = None):
    return PublicSet(
        layout="cellxgene",
        downloads=downloads,
        columns=columns,
        page=page,
        licence="CC BY 4.0, that of CELLxGENE; not looked up for this collection",
        steps="raw counts on gene symbols (feature_name); all cells, as in the study",
        note=note,
    )


COLLECTION = "https://cellxgene.cziscience.com/collections/"
AVAILABILITY = "https://doi.org/10.1038/s41592-026-03120-y"

CONTROL = "DMSO_TF"
DRUGS = {
    "tahoe_dinaciclib": "Dinaciclib",
    "tahoe_homoharringtonine": "Homoharringtonine",
    "tahoe_ph797804": "PH-797804",
    "tahoe_tak901": "TAK-901",
}
LINES = ("LoVo", "PANC-1", "NCI-H2030", "BT-474")
PLATE = "plate{}_filt_Vevo_Tahoe100M_WServicesFrom_ParseGigalab.h5ad"
BUCKET = "https://storage.googleapis.com/arc-institute-virtual-cell-atlas/tahoe100M/2025-02-25/h5ad/"
PLATES = tuple(
    Download(f"plate{number}", PLATE.format(number), BUCKET + PLATE.format(number)) for number in range(1, 15)
)

# Sizes and MD5 are those that figshare publishes, as other public repositories quote them.
FIGSHARE = "https://ndownloader.figshare.com/files/"
SCREENS = (
    Download(
        key="k562_gwps",
        file="K562_gwps_raw_singlecell_01.h5ad",
        url=FIGSHARE + "35775507",
        size=65_830_941_948,
        md5="887e3e6a8c8df6eadf7a3030a53c9546",
    ),
    Download(
        key="k562_essential",
        file="K562_essential_raw_singlecell_01.h5ad",
        url=FIGSHARE + "35773219",
        size=10_661_879_995,
        md5="4f1122ce1c7f13299a68df6459a266d3",
    ),
    Download(
        key="rpe1",
        file="rpe1_raw_singlecell_01.h5ad",
        url=FIGSHARE + "35775606",
        size=8_700_873_216,
        md5="6a2a9d0d2bf4ec147f4d1104043b268c",
    ),
)

SETS: dict[str, PublicSet] = {
    "hematopoiesis": _cellxgene(
        COLLECTION + "0aab20b3-c30c-4606-bd2e-d20dae739c45", _of_cellxgene("d72106bd-d03b-45e6-a0fa-ca2a831ef092")
    ),
    "intestine": _cellxgene(
        COLLECTION + "f30e0bf7-7b03-44b0-b312-cda799ef0240",
        _of_cellxgene("4fd4f3a1-8c41-4f73-808b-196766ed942d", "ifn"),
        _of_cellxgene("610bb418-705a-4493-a1fb-e14b8379af4f", "media"),
    ),
    "periodontitis": _cellxgene(
        COLLECTION + "71f4bccf-53d4-4c12-9e80-e73bfb89e398",
        _of_cellxgene("91796603-b12b-4d62-88cf-006957399338"),
        columns=("cell_type", "donor_id"),
    ),
    "placenta": _cellxgene(
        COLLECTION + "5f80428b-222d-450b-a7de-a408186ceb86", _of_cellxgene("50bbe1a2-5f27-47f5-a809-046459a4ae5e")
    ),
    "kim_lung": PublicSet(
        layout="atlas",
        downloads=(
            Download(
                "",
                "Data_Kim2020_Lung.zip",
                "https://www.dropbox.com/sh/97paub4mfkcviz1/AADXOe8pWbvlolETToAte3GYa?dl=1",
            ),
        ),
        columns=("cell_type", "sample"),
        page="https://www.weizmann.ac.il/sites/3CA/lung",
        licence=None,
        steps="UMI counts (Exp_data_UMIcounts.mtx) of Cells.csv on Genes.txt, without cells that have no cell_type",
        note="The archive may be a .tar.gz, too, as the atlas's page offers it now; keep the name of the file.",
    ),
    "liver": _cellxgene(
        AVAILABILITY,
        Download("", "liver.h5ad", None),
        columns=("cell_type", "donor_id"),
        note="The study's code names no file: look at its Data availability. A file of CELLxGENE is expected.",
    ),
    "renal": _cellxgene(
        AVAILABILITY,
        _of_cellxgene("0d2431dd-f185-47e1-be06-255f84304559"),
        columns=("cell_type", "donor_id"),
        note="The address is that of a file which the study's code calls kidney; whether it is the set is not known.",
    ),
    **{
        name: PublicSet(
            layout="plates",
            downloads=PLATES,
            columns=("cell_name", "drug"),
            page="https://github.com/ArcInstitute/arc-virtual-cell-atlas",
            licence="CC0 1.0",
            steps=f"raw counts of all cells of {drug} and {CONTROL} in {', '.join(LINES)}, whatever pass_filter says",
            drug=drug,
            note="A plate is needed until its cells stand in data/external/tahoe/, once for all four drugs. The "
            "address is that of the atlas since March 2026; the bucket that the study used is closed.",
        )
        for name, drug in DRUGS.items()
    },
    "replogle": PublicSet(
        layout="screens",
        downloads=SCREENS,
        columns=("dataset_id", "cell_type", "batch", "perturbation"),
        page="https://plus.figshare.com/articles/dataset/20029387",
        licence="CC BY 4.0",
        steps="raw counts on gene symbols of the cells whose guide targets a gene; the genes of all three files, 0 "
        "where a file lacks one, as in the study",
        note="For spike-ins, not for evaluation. The study kept cells with non-targeting guides, too.",
    ),
}
