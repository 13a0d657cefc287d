"""Who may do what: enrolment, proposals and approvals, audit logs, as signed documents that every party can check."""
