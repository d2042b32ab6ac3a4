"""Moments as pages write them where a template does not say how; the time zone is TIME_ZONE."""

DATETIME_FORMAT = r"Y-m-d H:i:s \U\T\C"
