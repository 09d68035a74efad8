# Sessions end when left alone, leave no history, and make files for their owner.
umask 027
ulimit -c 0
TMOUT=900
HISTFILE=
readonly TMOUT
export TMOUT HISTFILE
