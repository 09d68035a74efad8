//! Environment variables that replace keys of Vault's files, or set missing ones.
//! Source: `command/server.go`, `command/log_flags.go`, `internalshared/configutil` and `physical/`
//! of Vault, and `api` of Consul for `CONSUL_` variables.

use crate::lint::{Meaning, Override, Precedence};

const TOP: &[&str] = &[];
const CONSUL: &[&str] = &[
    "storage.consul",
    "backend.consul",
    "ha_storage.consul",
    "ha_backend.consul",
    "service_registration.consul",
];
const POSTGRESQL: &[&str] = &[
    "storage.postgresql",
    "backend.postgresql",
    "ha_storage.postgresql",
    "ha_backend.postgresql",
];
const TRANSIT: &[&str] = &["seal.transit"];

pub(super) const OVERRIDES: &[Override] = &[
    Override {
        variable: "VAULT_API_ADDR",
        blocks: TOP,
        key: "api_addr",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_REDIRECT_ADDR",
        blocks: TOP,
        key: "api_addr",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_ADVERTISE_ADDR",
        blocks: TOP,
        key: "api_addr",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_CLUSTER_ADDR",
        blocks: TOP,
        key: "cluster_addr",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_DISABLE_MLOCK",
        blocks: TOP,
        key: "disable_mlock",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_UI",
        blocks: TOP,
        key: "ui",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_LOG_LEVEL",
        blocks: TOP,
        key: "log_level",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "VAULT_PG_CONNECTION_URL",
        blocks: POSTGRESQL,
        key: "connection_url",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "COUCHDB_ENDPOINT",
        blocks: &["storage.couchdb", "backend.couchdb"],
        key: "endpoint",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "AWS_S3_ENDPOINT",
        blocks: &["storage.s3", "backend.s3"],
        key: "endpoint",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "AWS_DYNAMODB_ENDPOINT",
        blocks: &[
            "storage.dynamodb",
            "backend.dynamodb",
            "ha_storage.dynamodb",
        ],
        key: "endpoint",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "MANTA_URL",
        blocks: &["storage.manta", "backend.manta"],
        key: "url",
        precedence: Precedence::Variable,
        meaning: Meaning::Value,
    },
    Override {
        variable: "CONSUL_HTTP_ADDR",
        blocks: CONSUL,
        key: "address",
        precedence: Precedence::File,
        meaning: Meaning::Value,
    },
    Override {
        variable: "CONSUL_HTTP_SSL",
        blocks: CONSUL,
        key: "scheme",
        precedence: Precedence::File,
        meaning: Meaning::TlsFlag,
    },
    Override {
        variable: "VAULT_ADDR",
        blocks: TRANSIT,
        key: "address",
        precedence: Precedence::File,
        meaning: Meaning::Value,
    },
];
