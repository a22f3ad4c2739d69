# /etc/profile sets PATH anew; a login shell (a Jupyter terminal is one) needs the box's own tools first.
PATH=/opt/ml/bin:$HOME/.local/bin:$PATH
