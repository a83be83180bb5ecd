"""How the documentation is built: ``make docs`` serves the site, ``make docs-check`` judges it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import django
from django.conf import settings
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# The reference imports the Django app, which needs settings; nothing here opens the database.
settings.configure(
    INSTALLED_APPS=["trigger_celery_django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SECRET_KEY="of the documentation",
    USE_TZ=True,
)
django.setup()

import trigger_celery  # noqa: E402  (needs the settings above)

project = "trigger-celery"
copyright = "trigger-celery contributors"  # noqa: A001  (Sphinx reads this name)
release = version = trigger_celery.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "guarantee_tests", "state_drawing"]
exclude_patterns = ["_ext"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# A drawing in Mermaid's words, which GitHub draws by itself; ``state_drawing`` draws it here.
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
add_module_names = False

nitpicky = True
# Signatures name types of others, and our own that are not public: there is no page to link to.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = "trigger-celery"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/trigger-celery/trigger-celery/",
    "source_branch": "main",
    "source_directory": "docs/",
}


def without_marks(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Take the marks of type variables and of shortened names out of a signature."""
    return _without_marks(signature), _without_marks(returns)


def _without_marks(text: str | None) -> str | None:
    return re.sub(r"~(?:\w+\.)*", "", text) if text else text


def setup(app: Sphinx) -> None:
    """Connect to autodoc."""
    app.connect("autodoc-process-signature", without_marks)
