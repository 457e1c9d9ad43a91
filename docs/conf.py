"""Sphinx's settings for the site; ``python -m helpers.site`` stages its pages and runs it."""

project = "cellscale"
author = "the cellscale authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "helpers.site.extension"]

nb_execution_mode = "off"  # a page shows what the workflow executed
nb_mime_priority_overrides = [("html", "text/latex", None)]
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}  # of pydantic
napoleon_google_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
suppress_warnings = ["myst.header"]  # a user's notebook may begin a section with a smaller heading

html_theme = "furo"
html_title = "cellscale"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_show_search_summary = False  # would fetch pages, which browsers refuse from the file system
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_favicon = "static/favicon.svg"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5a8f",
        "color-brand-content": "#0b5a8f",
        "color-brand-visited": "#5b4a8a",
        "color-foreground-muted": "#5b6270",
        "color-foreground-border": "#878787",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    },
    "dark_css_variables": {
        "color-brand-primary": "#74bdf0",
        "color-brand-content": "#74bdf0",
        "color-brand-visited": "#b7a5ee",
        "color-foreground-muted": "#9aa3b0",
    },
}
