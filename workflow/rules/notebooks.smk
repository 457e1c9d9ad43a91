wildcard_constraints:
    name="|".join(PIECES),


rule notebook:
    """Execute one notebook. A change of its cells, of a helper it imports or of its part of the design changes `stamp`.

    An embedding or evaluation that fails does not stop the others: 50_collect lists it, the next run tries it again.
    """
    input:
        earlier,
    output:
        f"{RESULTS}/notebooks/{{name}}.ipynb",
    params:
        stage=lambda wildcards: PIECES[wildcards.name].stage,
        stamp=lambda wildcards: stamp(STUDY, PIECES[wildcards.name]),
        options=options,
        tolerate=lambda wildcards: "--tolerate " if PIECES[wildcards.name].stage in ("25_embed", *TASKS) else "",
        design=DESIGN,
        results=RESULTS,
    shell:
        "exec python -m helpers.warm helpers.run notebooks/{params.stage}.py {output:q} "
        "{params.tolerate}-p design {params.design:q} -p results {params.results:q} {params.options}"
