"""Pages in headless Chromium, without a driver."""

import base64
import json
import os
import shutil
import subprocess
import time

import pytest


def in_browser(path, script, folder):
    """Open a page and run a script in it; what it returns.

    Args:
        path (Path): The page.
        script (str): The body of an asynchronous function.
        folder (Path): For what the browser remembers.
    """
    with Browser(path.as_uri(), folder) as browser:
        browser.wait_for(
            "location.protocol === 'file:' && document.readyState === 'complete'"
        )
        value = browser.evaluate(f'(async () => {{{script}}})()')
        assert browser.said == []
        return value


class Browser:
    """Headless Chromium with a page, by its protocol of commands over pipes.

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
                if not url.startswith(('http://127.0.0.1:', 'file:', 'data:', 'blob:')):
                    self.said.append(url)
            if answer.get('id') == self._number:
                assert 'error' not in answer, answer
                return answer['result']

    def evaluate(self, script):
        """The value of an expression in the page, or of what it promises."""
        result = self.command(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
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
