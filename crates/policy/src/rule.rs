//! The rules that a statement can break, and the SQLSTATE of each.

use std::fmt;

/// One rule of the contract. Its word stands in the DETAIL of a denial and in the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    RelationNotAllowed,
    ColumnDenied,
    FunctionNotAllowed,
    StatementNotAllowed,
    SettingNotAllowed,
    ConnectionNotAllowed,
    MaskedColumnWrite,
    GroupSize,
    RowFilter,
    ReadOnly,
    MaxRows,
    MaxBytes,
    MaxPlanCost,
    MaxMemory,
    StatementTooComplex,
    StatementTimeout,
    IdentityRequired,
    AuditUnavailable,
    PolicyUnavailable,
}

impl Rule {
    /// Every rule, for documentation and tests.
    pub const ALL: [Self; 19] = [
        Self::RelationNotAllowed,
        Self::ColumnDenied,
        Self::FunctionNotAllowed,
        Self::StatementNotAllowed,
        Self::SettingNotAllowed,
        Self::ConnectionNotAllowed,
        Self::MaskedColumnWrite,
        Self::GroupSize,
        Self::RowFilter,
        Self::ReadOnly,
        Self::MaxRows,
        Self::MaxBytes,
        Self::MaxPlanCost,
        Self::MaxMemory,
        Self::StatementTooComplex,
        Self::StatementTimeout,
        Self::IdentityRequired,
        Self::AuditUnavailable,
        Self::PolicyUnavailable,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RelationNotAllowed => "relation_not_allowed",
            Self::ColumnDenied => "column_denied",
            Self::FunctionNotAllowed => "function_not_allowed",
            Self::StatementNotAllowed => "statement_not_allowed",
            Self::SettingNotAllowed => "setting_not_allowed",
            Self::ConnectionNotAllowed => "connection_not_allowed",
            Self::MaskedColumnWrite => "masked_column_write",
            Self::GroupSize => "group_size",
            Self::RowFilter => "row_filter",
            Self::ReadOnly => "read_only",
            Self::MaxRows => "max_rows",
            Self::MaxBytes => "max_bytes",
            Self::MaxPlanCost => "max_plan_cost",
            Self::MaxMemory => "max_memory",
            Self::StatementTooComplex => "statement_too_complex",
            Self::StatementTimeout => "statement_timeout",
            Self::IdentityRequired => "identity_required",
            Self::AuditUnavailable => "audit_unavailable",
            Self::PolicyUnavailable => "policy_unavailable",
        }
    }

    /// The five characters of the error's SQLSTATE.
    #[must_use]
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::RelationNotAllowed
            | Self::ColumnDenied
            | Self::FunctionNotAllowed
            | Self::StatementNotAllowed
            | Self::SettingNotAllowed
            | Self::ConnectionNotAllowed
            | Self::MaskedColumnWrite
            | Self::GroupSize
            | Self::RowFilter
            | Self::PolicyUnavailable => "42501",
            Self::ReadOnly => "25006",
            Self::MaxRows
            | Self::MaxBytes
            | Self::MaxPlanCost
            | Self::MaxMemory
            | Self::StatementTooComplex => "54000",
            Self::StatementTimeout => "57014",
            Self::IdentityRequired => "28000",
            Self::AuditUnavailable => "58030",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
