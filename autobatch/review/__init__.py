"""What people see: live view, plots, dashboard, report."""
