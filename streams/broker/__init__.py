"""A real Apache Kafka as a child process, from pip-installed parts."""
