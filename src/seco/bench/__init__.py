"""Measure: speeds as ratios against named rivals in the same run. One file a family of rows in `families`."""
