"""Tests of the files that deploy the service: what they promise, and how they run under real nginx and supervisord."""
