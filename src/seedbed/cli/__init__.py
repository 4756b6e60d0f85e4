"""The command line: `flags` says what there is to write, `app` calls the verbs, `screen` draws what they say."""

from seedbed.cli.app import main as main
