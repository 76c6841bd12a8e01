//! Why a flow ended as it did: the closed set of words that records, metrics, replies and `explain` share.

use std::fmt;

/// One row of the reasons table: the word, and whether the flow counts as let through.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $allows:literal;)+) => {
        /// Why a flow ended as it did. The words are part of the contract with dashboards and scripts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// Every reason, in the order of the enum, so that `reason as usize` indexes it.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];

            /// The snake_case word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $word,)+ }
            }

            /// Whether the policy let the flow through; what happened afterwards does not turn an
            /// allowed flow into a denied one.
            pub const fn allows(self) -> bool {
                match self { $(Reason::$variant => $allows,)+ }
            }
        }
    };
}

reasons! {
    /// A rule allows it.
    Allowed = "allowed", true;
    /// No rule decides, and every matching profile is in report mode.
    ReportOnly = "report_only", true;
    /// No rule allows it.
    NoRule = "no_rule", false;
    /// A deny rule covers it.
    DeniedByRule = "denied_by_rule", false;
    /// No profile takes this client.
    NoProfile = "no_profile", false;
    /// The name resolved only to addresses that may not be dialled.
    AddressProhibited = "address_prohibited", false;
    /// A TLS ClientHello without a server name.
    ServerNameMissing = "server_name_missing", false;
    /// A TLS server name other than the name that was asked for.
    ServerNameMismatch = "server_name_mismatch", false;
    /// A ClientHello with Encrypted Client Hello, which no rule lets through.
    EchDenied = "ech_denied", false;
    /// A Host header that is doubled or differs from the authority.
    HostMismatch = "host_mismatch", false;
    /// Something other than TLS where a rule wants TLS.
    NotTls = "not_tls", false;
    /// Something other than HTTP where a rule wants HTTP.
    NotHttp = "not_http", false;
    /// A request that is malformed or can be read in two ways.
    BadRequest = "bad_request", false;
    /// A ClientHello that is malformed or can be read in two ways.
    BadClientHello = "bad_client_hello", false;
    /// Credentials are needed and none came.
    AuthRequired = "auth_required", false;
    /// Credentials came and are wrong.
    AuthFailed = "auth_failed", false;
    /// A limit of all clients together is reached: on flows, or on how many of them ask DNS questions.
    LimitFlows = "limit_flows", false;
    /// A limit of this client alone is reached: on flows, connections, credentials to check, DNS questions, or look-ups.
    LimitClient = "limit_client", false;
    /// The head or the ClientHello did not arrive in time.
    HeadTimeout = "head_timeout", false;
    /// The name could not be resolved.
    DnsFailed = "dns_failed", true;
    /// The upstream refused the connection.
    DialRefused = "dial_refused", true;
    /// No address answered in time.
    DialTimeout = "dial_timeout", true;
    /// The connection failed for another reason.
    DialFailed = "dial_failed", true;
    /// The destination is exeat itself.
    SelfConnect = "self_connect", false;
    /// The parent proxy failed or refused.
    ParentFailed = "parent_failed", true;
    /// Records can't be written and the settings require them.
    AuditUnavailable = "audit_unavailable", false;
    /// A defect in exeat ended the flow.
    Internal = "internal", false;
    /// The upstream reset the connection.
    UpstreamReset = "upstream_reset", true;
    /// The client reset the connection.
    ClientReset = "client_reset", true;
    /// No byte moved for the idle time-out.
    IdleTimeout = "idle_timeout", true;
    /// A reload took the permission back while the flow was open.
    Revoked = "revoked", false;
    /// exeat stopped while the flow was open.
    Draining = "draining", true;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_indexed_by_the_variant() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
