"""The part of Azure ML's package that scoring scripts import; found after an installed one."""
