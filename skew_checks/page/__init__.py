"""The report as one HTML file that loads nothing: `skew_checks.page.page.page`."""
