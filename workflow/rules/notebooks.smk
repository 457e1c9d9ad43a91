# A rule for each stage: all execute a notebook in the same way. A change of its cells, of a helper it imports or of its
# part of the design changes `stamp`, and the notebook is executed again. A terminal sends Ctrl-C to all that runs: jobs do
# not listen, since Snakemake ends them, and says so.


rule corpus:
    """The cells of the study, read from their source and checked."""
    input:
        earlier,
    output:
        f"{RESULTS}/notebooks/{{name}}.ipynb",
    log:
        f"{RESULTS}/notebooks/logs/{{name}}.log",
    wildcard_constraints:
        name="00_corpus",
    conda:
        "../../environment.yml"  # for the record: jobs run in the environment that runs Snakemake
    threads: 1
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=gpus,
    params:
        stage=lambda wildcards: PIECES[wildcards.name].stage,
        stamp=code,
        options=options,
        tolerate=tolerate,
        design=DESIGN,
        results=lambda wildcards: RESULTS,
    shell:
        "trap '' INT; "
        "exec python -m helpers.warm helpers.run notebooks/{params.stage}.py {output:q} "
        "{params.tolerate}-p design {params.design:q} -p results {params.results:q} {params.options} "
        "2> >(exec tee -i {log:q} >&2)"


use rule corpus as split with:
    """Which cells are learned from, and which judge."""
    wildcard_constraints:
        name="05_split",


use rule corpus as subset with:
    """The subsets of one way of sampling."""
    wildcard_constraints:
        name="10_subset--.*",


use rule corpus as diversity with:
    """What each subset holds."""
    wildcard_constraints:
        name="15_diversity",


use rule corpus as pretrain with:
    """Train models of one family, width and strategy: all of them, or those of one size or seed."""
    wildcard_constraints:
        name="20_pretrain--.*",


use rule corpus as embed with:
    """Embed the evaluation cells. Like an evaluation, one that fails does not stop the others."""
    wildcard_constraints:
        name="25_embed--.*",


use rule corpus as classify with:
    """Types by neighbours, and by a probe. What fails is listed by 50_collect and tried again by the next run."""
    wildcard_constraints:
        name="30_classify--.*",


use rule corpus as finetune with:
    """Types by a head that few cells teach, or all."""
    wildcard_constraints:
        name="31_finetune--.*",


use rule corpus as integrate with:
    """Types apart, batches mixed."""
    wildcard_constraints:
        name="32_integrate--.*",


use rule corpus as perturb with:
    """Responses of types that no head saw treated."""
    wildcard_constraints:
        name="33_perturb--.*",


use rule corpus as heldout_loss with:
    """The loss of cells outside the corpus."""
    wildcard_constraints:
        name="34_heldout_loss--.*",


use rule corpus as collect with:
    """One table of all results."""
    wildcard_constraints:
        name="50_collect",


use rule corpus as saturation with:
    """Where learning saturates."""
    wildcard_constraints:
        name="60_saturation",


use rule corpus as scaling_laws with:
    """Whether there is a scaling law, and along which axis."""
    wildcard_constraints:
        name="61_scaling_laws",


use rule corpus as diversity_effect with:
    """Whether diversity explains performance at one size."""
    wildcard_constraints:
        name="62_diversity_effect",


use rule corpus as response_axes with:
    """Whether predicted responses improve with treated cells, or with contexts."""
    wildcard_constraints:
        name="63_response_axes",


use rule corpus as figures with:
    """The figures, with their numbers."""
    wildcard_constraints:
        name="90_figures",


rule report:
    """Copies of the figures for `snakemake --report`, which would mark the originals; those belong to the store."""
    input:
        executed("90_figures"),
    output:
        report(
            directory(f"{RESULTS}/report"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"{RESULTS}/notebooks/logs/report.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        figures=lambda wildcards: f"{RESULTS}/figures",
    shell:
        "{{ mkdir {output:q} && cp {params.figures:q}/*.svg {output:q}; }} 2> {log:q}"
