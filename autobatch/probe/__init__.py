"""The child: build, train, measure, write the outcome. The only room that imports torch."""
