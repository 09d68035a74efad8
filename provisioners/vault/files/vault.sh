# The local server for people at a shell: TLS only, and no token here.
export VAULT_ADDR=https://127.0.0.1:8200
export VAULT_CACERT=/run/vault-tls/ca.pem
export HISTIGNORE="${HISTIGNORE:+$HISTIGNORE:}vault*"
