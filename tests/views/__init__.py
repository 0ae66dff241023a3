"""What tables, figures and terminal pictures contain."""
