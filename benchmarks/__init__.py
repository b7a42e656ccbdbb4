"""What is measured, as the commands do it: the package comes first, since it tells numpy's threads to sleep."""

import smiler  # noqa: F401
