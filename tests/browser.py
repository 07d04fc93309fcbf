"""Pages in headless Chromium, without a driver: the page itself tells what it does."""

import html
import json
import re
import shutil
import subprocess

import pytest

# A click, and so on, as a user would do it; what it returns is told in the title.
SCRIPT = """
<script>
addEventListener('load', async () => {
  let result;
  try { result = {value: await (async () => {%s})()}; }
  catch (error) { result = {error: String(error)}; }
  document.title = JSON.stringify(result);
});
</script>
"""


def in_browser(path, script, folder):
    """Open a page and run a script in it; what it returns.

    Args:
        path (Path): The page.
        script (str): The body of an asynchronous function.
        folder (Path): For what the browser remembers.
    """
    chromium = shutil.which('chromium')
    if chromium is None:
        pytest.skip('there is no chromium (Debian: apt-get install chromium)')
    page = path.with_name(f'tested_{path.name}')
    text = path.read_text(encoding='utf-8')
    page.write_text(text.replace('</body>', SCRIPT % script + '</body>'), encoding='utf-8')
    try:
        done = subprocess.run(
            [
                chromium,
                *('--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr'),
                *('--host-resolver-rules=MAP * ~NOTFOUND', f'--user-data-dir={folder}'),
                *('--window-size=1300,900', '--virtual-time-budget=20000', '--dump-dom'),
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        page.unlink()
    said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert not said, said
    (title,) = re.findall('<title>(.*?)</title>', done.stdout, re.DOTALL)
    result = json.loads(html.unescape(title))
    assert 'error' not in result, result
    return result.get('value')
