"""Pure: dependency graph, desired against observed -> Plan; the executor that walks a Plan."""
