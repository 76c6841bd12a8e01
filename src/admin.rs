//! The admin listener: metrics, health, open flows, the policy in force.
