# /etc/profile sets PATH anew; a login shell (a Jupyter terminal is one) needs the box's own tools first.
PATH=/opt/ml/bin:$HOME/.local/bin:$PATH:/usr/sbin:/sbin
export PATH
. /usr/local/lib/gpubox/environment

# git refuses the first commit without these, at the least convenient moment.
if [ -n "${PS1:-}" ] && [ -t 1 ] && [ -z "${GIT_AUTHOR_EMAIL:-}" ] && [ ! -e "$HOME/.hushlogin" ] &&
    ! git config --get user.email >/dev/null 2>&1; then
    echo "Before your first commit, tell git who you are:"
    echo '  git config --global user.name "Your Name"; git config --global user.email you@example.org'
fi
