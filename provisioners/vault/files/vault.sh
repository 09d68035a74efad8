# The local server for shells: TLS only, without a token.
export VAULT_ADDR=https://127.0.0.1:8200
export VAULT_CACERT=/run/vault-tls/ca.pem
export HISTIGNORE="${HISTIGNORE:+$HISTIGNORE:}vault*"
