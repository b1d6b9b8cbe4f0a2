"""``onewriter stress``: real files uploaded in parallel into one SQLite file, beside the ways that fail.

    sources, waits, store → raw, ways → tally, settings, progress → uploader → crew → worker → processes, audit
            → run → verdict, measures → figures, machine → report, terminal → command

Needs the extra ``stress`` (typer, rich, matplotlib, jinja2, hdrhistogram); of onewriter only the command line loads it.
"""
