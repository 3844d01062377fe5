"""Drivers of measurements that take longer than a test."""
