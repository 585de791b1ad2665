"""The few of MLflow's utilities that other libraries use."""
