"""A run in; one HTML file out that writes with its model in anybody's browser, without a network.

The file holds the page (assets/page), the model's arrays, and kernels in WebAssembly.
"""

from charloom.formats.html.export import Exported as Exported
from charloom.formats.html.export import export_html as export_html
