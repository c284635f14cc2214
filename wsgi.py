"""For any WSGI server of your own: `gunicorn wsgi:app`. `copilot web` does the same with the right threads and bounds."""

from copilot.app import create_app
from copilot.processes import ready

ready.check(ready.WEB)
app = create_app()
