"""Pages in headless Chromium, without a driver: the page itself tells what it does."""

import base64
import html
import json
import os
import re
import shutil
import subprocess
import time

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


class Browser:
    """Headless Chromium with a served page, by its protocol of commands over pipes.

    What the page loads from anywhere but this machine fails, and is in ``said``.

    Args:
        url (str): The page.
        folder (Path): For what the browser remembers.
    """

    def __init__(self, url, folder):
        if shutil.which('chromium') is None:
            pytest.skip('there is no chromium (Debian: apt-get install chromium)')
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()
        options = (
            *('--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe'),
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            *(f'--user-data-dir={folder}', '--window-size=1300,1250'),
        )
        # Chromium reads from 3 and writes to 4.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec chromium "$@" 3<&{read} 4>&{write}', '-', *options],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._received, self._number, self._session, self.said = b'', 0, {}, []
        target = self.command('Target.createTarget', url='about:blank')['targetId']
        session = self.command('Target.attachToTarget', targetId=target, flatten=True)
        self._session = dict(sessionId=session['sessionId'])
        for domain in ('Log', 'Network', 'Page', 'Runtime'):
            self.command(f'{domain}.enable')
        self.command('Page.navigate', url=url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(60)
        os.close(self._commands)
        os.close(self._answers)

    def command(self, method, **params):
        """Send a command and wait for its answer."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params, **self._session)
        os.write(self._commands, json.dumps(message).encode() + b'\0')
        while True:
            while b'\0' not in self._received:
                block = os.read(self._answers, 1 << 16)
                assert block, 'Chromium has ended'
                self._received += block
            text, _, self._received = self._received.partition(b'\0')
            answer = json.loads(text)
            if answer.get('method') in ('Log.entryAdded', 'Runtime.exceptionThrown'):
                self.said.append(answer['params'])
            if answer.get('method') == 'Network.requestWillBeSent':
                url = answer['params']['request']['url']
                if not url.startswith(('http://127.0.0.1:', 'data:', 'blob:')):
                    self.said.append(url)
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def evaluate(self, script):
        """The value of an expression in the page."""
        result = self.command('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def wait_for(self, script, seconds=120):
        """Wait until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            assert time.monotonic() < end, (
                script,
                self.evaluate('document.body.innerText'),
            )
            time.sleep(0.2)

    def choose_files(self, selector, *paths):
        """Choose files in an input, as a user does."""
        root = self.command('DOM.getDocument')['root']['nodeId']
        node = self.command('DOM.querySelector', nodeId=root, selector=selector)['nodeId']
        self.command('DOM.setFileInputFiles', nodeId=node, files=[*map(str, paths)])

    def screenshot(self, path):
        """Save a picture of the whole page, PNG."""
        data = self.command('Page.captureScreenshot', captureBeyondViewport=True)['data']
        path.write_bytes(base64.b64decode(data))
